-- Removes the copy and the outbox of a session that was deleted; who owns it goes on at version 0. No entry is removed
-- that the caller has not seen: a later owner may have added it since.
-- KEYS: hot copy, outbox. ARGV: what "@" held before the session was deleted, or "".
-- Answer: 0 done, 1 there are other entries.
local head = redis.call('HGET', KEYS[2], '@')
if head ~= ARGV[1] and redis.call('HLEN', KEYS[2]) > (head and 1 or 0) then
  return 1
end
redis.call('UNLINK', KEYS[1], KEYS[2])
local current = head and string.match(head, '^(%d+):')
if current then
  local becomes = current .. ':0:0000000000000000:0'
  redis.call('HSET', KEYS[2], '@', becomes)
  redis.call('HSET', KEYS[1], '@', becomes, '@full', '1')
  -- Nobody may ever come back for it.
  redis.call('PEXPIRE', KEYS[1], 86400000)
end
return 0
