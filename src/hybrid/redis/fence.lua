-- From here on only this token may write.
-- KEYS: outbox. ARGV: the token. Answer: what "@" held, "" for nothing; a larger token stays.
local head = redis.call('HGET', KEYS[1], '@')
if not head then
  return ''
end
local token, rest = string.match(head, '^(%d+)(:.*)$')
if token and tonumber(token) < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], '@', ARGV[1] .. rest)
end
return head
