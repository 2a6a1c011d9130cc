-- Reads a page of records, and what stands in "@" at the same moment.
-- KEYS: the session's hash. ARGV: HSCAN's cursor, COUNT and pattern, or "".
-- Answer: {what "@" holds or "", the next cursor, fields and values}.
local found
if ARGV[3] == '' then
  found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
else
  found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2], 'MATCH', ARGV[3])
end
return { redis.call('HGET', KEYS[1], '@') or '', found[1], found[2] }
