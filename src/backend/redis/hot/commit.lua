-- Takes commits into hot copies and, if asked, their entries into the outboxes; each atomic by itself.
-- KEYS, for each session: hot copy, outbox.
-- ARGV, for each session: what the outbox's "@" begins with if the owner may write ("token:base:"), what it becomes,
-- the hot copy's time to live in ms or "0", the version of the entry or "", the entry, twice the number of puts, the
-- number of deletes; fields and values; deleted fields.
-- Answer, for each session: 0 if done; else what "@" holds ("" for nothing), or "E" and an error.
local answers = {}
local at = 1
for i = 1, #KEYS / 2 do
  local hot, outbox, expected, becomes = KEYS[2 * i - 1], KEYS[2 * i], ARGV[at], ARGV[at + 1]
  local first = at + 7
  local last = first + ARGV[at + 5] - 1
  local stop = last + ARGV[at + 6]
  -- What is not ours under one session's keys is no reason to stop in the middle of the others'.
  local head = redis.pcall('HGET', outbox, '@')
  local known = redis.pcall('HGET', hot, '@')
  if type(head) == 'table' then
    answers[i] = 'E' .. head.err
  elseif type(known) == 'table' then
    answers[i] = 'E' .. known.err
  elseif not head or string.sub(head, 1, #expected) ~= expected then
    answers[i] = head or ''
  else
    if known and known ~= head then
      redis.call('UNLINK', hot)
    end
    if ARGV[at + 3] == '' then
      redis.call('HSET', outbox, '@', becomes)
    else
      redis.call('HSET', outbox, '@', becomes, ARGV[at + 3], ARGV[at + 4])
    end
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
    if ARGV[at + 2] ~= '0' then
      redis.call('PEXPIRE', hot, ARGV[at + 2])
    else
      redis.call('PERSIST', hot)
    end
    answers[i] = 0
  end
  at = stop + 1
end
return answers
