-- Commits of owners, each atomic by itself.
-- KEYS[i]: the hash of session i.
-- ARGV, for each session: what "@" begins with if the owner may write ("token:base:"), what "@" becomes, the
-- time to live in ms or "0", twice the number of puts, the number of deletes; fields and values; deleted fields.
-- Answer, for each session: 0 if committed; else what "@" holds ("" for nothing), or "E" and an error.
-- Deletes come first: after a command that needs no memory, a server that is out of it lets the others of the same
-- script through, so that what only deletes is not refused.
local answers = {}
local at = 1
for i = 1, #KEYS do
  local key, expected, ttl = KEYS[i], ARGV[at], ARGV[at + 2]
  local first = at + 5
  local last = first + ARGV[at + 3] - 1
  local stop = last + ARGV[at + 4]
  local head = redis.pcall('HGET', key, '@')
  if type(head) == 'string' and string.sub(head, 1, #expected) == expected then
    -- unpack is limited by the Lua stack (8,000 values).
    local puts = last >= first
    local from, to = last + 1, first - 1
    while not puts and from <= stop do
      to = math.min(stop, from + 3999)
      redis.call('HDEL', key, unpack(ARGV, from, to))
      from = to + 1
    end
    to = math.min(last, first + 3999)
    redis.call('HSET', key, '@', ARGV[at + 1], unpack(ARGV, first, to))
    while to < last do
      local from = to + 1
      to = math.min(last, from + 3999)
      redis.call('HSET', key, unpack(ARGV, from, to))
    end
    while puts and from <= stop do
      to = math.min(stop, from + 3999)
      redis.call('HDEL', key, unpack(ARGV, from, to))
      from = to + 1
    end
    if ttl ~= '0' then
      redis.call('PEXPIRE', key, ttl)
    -- The flag stands behind the commit id of 16 digits and a colon.
    elseif string.byte(head, #expected + 18) == 116 then
      redis.call('PERSIST', key)
    end
    answers[i] = 0
  elseif type(head) == 'table' then
    answers[i] = 'E' .. head.err
  else
    answers[i] = head or ''
  end
  at = stop + 1
end
return answers
