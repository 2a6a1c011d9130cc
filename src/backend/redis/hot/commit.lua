-- Takes a commit into the hot copy and, if asked, its entry into the outbox.
-- KEYS: hot copy, outbox.
-- ARGV: what the outbox's "@" begins with if the owner may write ("token:base:"), what it becomes, the hot copy's
-- time to live in ms or "0", the version of the entry or "", the entry, twice the number of puts, the number of
-- deletes; fields and values; deleted fields.
-- Answer: 0 if done; else what "@" holds ("" for nothing).
local hot, outbox, becomes = KEYS[1], KEYS[2], ARGV[2]
local head = redis.call('HGET', outbox, '@')
if not head or string.sub(head, 1, #ARGV[1]) ~= ARGV[1] then
  return head or ''
end
local known = redis.call('HGET', hot, '@')
if known and known ~= head then
  redis.call('UNLINK', hot)
end
if ARGV[4] == '' then
  redis.call('HSET', outbox, '@', becomes)
else
  redis.call('HSET', outbox, '@', becomes, ARGV[4], ARGV[5])
end
local first = 8
local last = first + ARGV[6] - 1
local stop = last + ARGV[7]
-- unpack is limited by the Lua stack (8,000 values).
local to = math.min(last, first + 3999)
redis.call('HSET', hot, '@', becomes, unpack(ARGV, first, to))
while to < last do
  local from = to + 1
  to = math.min(last, from + 3999)
  redis.call('HSET', hot, unpack(ARGV, from, to))
end
local from = last + 1
while from <= stop do
  to = math.min(stop, from + 3999)
  redis.call('HDEL', hot, unpack(ARGV, from, to))
  from = to + 1
end
if ARGV[3] ~= '0' then
  redis.call('PEXPIRE', hot, ARGV[3])
else
  redis.call('PERSIST', hot)
end
return 0
