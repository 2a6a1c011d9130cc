-- Adds records read from the primary to the copy, unless anything was written since.
-- KEYS: hot copy, outbox. ARGV: what "@" must hold, the time to live in ms or "0", "1" if the copy is complete with
-- these, then fields and values.
-- Answer: 1 if taken.
local hot = KEYS[1]
if redis.call('HGET', KEYS[2], '@') ~= ARGV[1] then
  return 0
end
local known = redis.call('HGET', hot, '@')
if known ~= ARGV[1] then
  if known then
    redis.call('UNLINK', hot)
  end
  redis.call('HSET', hot, '@', ARGV[1])
  if ARGV[2] ~= '0' then
    redis.call('PEXPIRE', hot, ARGV[2])
  end
end
for from = 4, #ARGV, 4000 do
  redis.call('HSET', hot, unpack(ARGV, from, math.min(#ARGV, from + 3999)))
end
if ARGV[3] == '1' then
  redis.call('HSET', hot, '@full', '1')
end
return 1
