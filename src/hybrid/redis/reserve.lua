-- Keeps others from taking a session while its lease is asked for elsewhere. Fences nobody yet.
-- KEYS: outbox, lease. ARGV: the request ID, the owner, the lease in ms, the token of the holder to preempt or "", the
-- version that the primary has.
-- Answer: {"held", lease, ms} | {"reserved", what the outbox's "@" holds or "", how the first entry begins that the
-- primary does not have, or ""}
local lease = redis.call('GET', KEYS[2])
if lease then
  local holder = string.match(lease, '^(%d+) ')
  if holder ~= ARGV[4] and string.sub(lease, 1, #ARGV[1] + 3) ~= '0 ' .. ARGV[1] .. ' ' then
    return { 'held', lease, redis.call('PTTL', KEYS[2]) }
  end
end
redis.call('SET', KEYS[2], '0 ' .. ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
local first
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local version = tonumber(field)
  if version and version > tonumber(ARGV[5]) and (not first or version < first) then
    first = version
  end
end
local entry = first and redis.call('HGET', KEYS[1], string.format('%.0f', first)) or ''
return { 'reserved', redis.call('HGET', KEYS[1], '@') or '', string.sub(entry, 1, 64) }
