-- Writes heads as they are, so that WAIT on the same connection says who has what stands there now.
-- KEYS: hashes.
-- Answer: 0.
for i = 1, #KEYS do
  local head = redis.call('HGET', KEYS[i], '@')
  if head then
    redis.call('HSET', KEYS[i], '@', head)
  end
end
return 0
