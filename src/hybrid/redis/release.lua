-- Gives a lease back. KEYS: outbox, lease. ARGV: the token or the request ID of a reservation.
-- Answer: 0.
local lease = redis.call('GET', KEYS[2])
if lease and (string.sub(lease, 1, #ARGV[1] + 1) == ARGV[1] .. ' '
    or string.sub(lease, 1, #ARGV[1] + 3) == '0 ' .. ARGV[1] .. ' ') then
  redis.call('DEL', KEYS[2])
end
-- Without entries the outbox says nothing that the hot copy does not.
local head = redis.call('HGET', KEYS[1], '@')
if head and string.sub(head, 1, #ARGV[1] + 1) == ARGV[1] .. ':' and redis.call('HLEN', KEYS[1]) == 1 then
  redis.call('DEL', KEYS[1])
end
return 0
