-- Sets how long a session lives without a write.
-- KEYS: the session's hash. ARGV: the owner's token, or "" for anybody; the time to live in ms, or "0" for ever.
-- Answer: 1 done, 0 there is none, or what "@" holds if the token is not the session's.
local hash, token, ttl = KEYS[1], ARGV[1], ARGV[2]
local head = redis.call('HGET', hash, '@')
if not head then
  return 0
end
local current, version, id, rest = string.match(head, '^(%d+):(%d+):(%x+):[t-](:.*)$')
if not current or (token ~= '' and token ~= current) then
  return head
end
if version == '0' then
  return 0
end
local flag = ttl == '0' and '-' or 't'
-- First what a server that is out of memory lets through.
if ttl == '0' then
  redis.call('PERSIST', hash)
else
  redis.call('PEXPIRE', hash, ttl)
end
redis.call('HSET', hash, '@', current .. ':' .. version .. ':' .. id .. ':' .. flag .. rest)
return 1
