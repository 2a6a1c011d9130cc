-- Removes entries that the primary has. KEYS: outbox. ARGV: the token, the versions.
-- Answer: 0 done, 1 somebody else owns the session, 2 not known.
local head = redis.call('HGET', KEYS[1], '@')
local current = head and string.match(head, '^(%d+):')
if not current then
  return 2
end
if current ~= ARGV[1] then
  return 1
end
for from = 2, #ARGV, 4000 do
  redis.call('HDEL', KEYS[1], unpack(ARGV, from, math.min(#ARGV, from + 3999)))
end
return 0
