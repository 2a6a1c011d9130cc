-- Makes a lease last on. KEYS: outbox, lease. ARGV: the token, the lease in ms, attempt and owner.
-- Answer: 0 renewed, 1 somebody else owns the session, 2 not known, 3 somebody else is asking for it.
local head = redis.call('HGET', KEYS[1], '@')
local current = head and string.match(head, '^(%d+):')
if not current or tonumber(current) < tonumber(ARGV[1]) then
  return 2
end
if current ~= ARGV[1] then
  return 1
end
local lease = redis.call('GET', KEYS[2])
if lease and string.sub(lease, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then
  return 3
end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. ARGV[3], 'PX', ARGV[2])
return 0
