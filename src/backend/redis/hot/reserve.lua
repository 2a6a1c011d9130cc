-- Keeps others from taking a session while its lease is asked for elsewhere. Fences nobody yet.
-- KEYS: outbox, lease. ARGV: the attempt, the owner, the lease in ms, the token of the holder to displace or "".
-- Answer: {"held", lease, ms} | {"reserved"}
local lease = redis.call('GET', KEYS[2])
if lease then
  local holder = string.match(lease, '^(%d+) ')
  if holder ~= ARGV[4] and string.sub(lease, 1, #ARGV[1] + 3) ~= '0 ' .. ARGV[1] .. ' ' then
    return { 'held', lease, redis.call('PTTL', KEYS[2]) }
  end
end
redis.call('SET', KEYS[2], '0 ' .. ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
return { 'reserved' }
