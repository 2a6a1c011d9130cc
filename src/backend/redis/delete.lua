-- Deletes a session's records, if it still is as the caller saw it: should this arrive late, it must not take what was
-- written since.
-- KEYS: the session's hash, its lease. ARGV: the owner's token, or "" for anybody; what "@" held, or "".
-- Answer: 1 deleted, 0 there was none, 2 it is not as it was seen, or what "@" holds if the token is not the session's.
local hash, token = KEYS[1], ARGV[1]
local head, owner, claim = unpack(redis.call('HMGET', hash, '@', '@owner', '@claim'))
if not head then
  return 0
end
local current, version = string.match(head, '^(%d+):(%d+):')
if not current or (token ~= '' and token ~= current) then
  return head
end
if head ~= ARGV[2] then
  return 2
end
redis.call('UNLINK', hash)
-- What is left while it is owned keeps the token, so that the owner goes on and nobody older can.
if owner and (token ~= '' or redis.call('EXISTS', KEYS[2]) == 1) then
  redis.call('HSET', hash, '@', current .. ':0:0000000000000000:-:0:', '@owner', owner)
  if claim then
    redis.call('HSET', hash, '@claim', claim)
  end
end
return version ~= '0' and 1 or 0
