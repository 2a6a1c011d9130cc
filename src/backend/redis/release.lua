-- Gives a lease back.
-- KEYS: the session's hash, its lease.
-- ARGV: the token, and how long in ms the caller's own token of a session that does not exist is remembered.
local hash, key, token = KEYS[1], KEYS[2], ARGV[1]
local lease = redis.call('GET', key)
if lease and string.sub(lease, 1, #token + 1) == token .. ' ' then
  redis.call('DEL', key)
end
local head, claim = unpack(redis.call('HMGET', hash, '@', '@claim'))
-- Version 0: never written, or deleted.
if head and string.sub(head, 1, #token + 3) == token .. ':0:' then
  if claim then
    -- The flag lets the next commit lift the time limit.
    redis.call('PEXPIRE', hash, ARGV[2])
    redis.call('HSET', hash, '@', token .. ':0:0000000000000000:t:0:')
  else
    redis.call('DEL', hash)
  end
end
return 0
