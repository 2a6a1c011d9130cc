-- Begins an ownership whose outbox is empty, and keeps the hot copy if it is of this very version. No entry is removed
-- that the caller has not seen.
-- KEYS: hot copy, outbox, lease.
-- ARGV: the token, "version:commit:", the time of the last commit in ms, the lease in ms, request ID and owner, what
-- "@" holds with everything that the caller has seen of this outbox, or "".
-- Answer: {0, time of the last commit} | {1, what "@" holds} if a larger token or something else stands there |
-- {2, what "@" holds} if there are entries that the caller has not seen.
local hot, outbox, key = KEYS[1], KEYS[2], KEYS[3]
local head = redis.call('HGET', outbox, '@')
local current = head and string.match(head, '^(%d+):')
if current and tonumber(current) >= tonumber(ARGV[1]) and head ~= ARGV[6] then
  return { 1, head }
end
if head ~= ARGV[6] and redis.call('HLEN', outbox) > (head and 1 or 0) then
  return { 2, head or '' }
end
local updated = ARGV[3]
local known = redis.call('HGET', hot, '@')
if known then
  local rest, at = string.match(known, '^%d+:(%d+:%x+:)(%d+)$')
  if rest == ARGV[2] then
    updated = at
  else
    redis.call('UNLINK', hot)
    known = nil
  end
end
local becomes = ARGV[1] .. ':' .. ARGV[2] .. updated
if known then
  redis.call('HSET', hot, '@', becomes)
elseif string.sub(ARGV[2], 1, 2) == '0:' then
  -- A session without records is complete.
  redis.call('HSET', hot, '@', becomes, '@full', '1')
end
redis.call('UNLINK', outbox)
redis.call('HSET', outbox, '@', becomes)
redis.call('SET', key, ARGV[1] .. ' ' .. ARGV[5], 'PX', ARGV[4])
return { 0, updated }
