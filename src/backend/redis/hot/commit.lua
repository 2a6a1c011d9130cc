-- Takes commits into hot copies and, if asked, their entries into the outboxes; each atomic by itself.
-- KEYS, for each session: hot copy, outbox.
-- ARGV, for each session: what the outbox's "@" begins with if the owner may write ("token:base:"), what it becomes,
-- the hot copy's time to live in ms or "0", the version of the entry or "", the entry, twice the number of puts, the
-- number of deletes; fields and values; deleted fields.
-- Answer, for each session: 0 if done; else what "@" holds ("" for nothing), or "E" and an error.
-- The outbox is written last: a commit that fails midway is not taken for done when it is sent again, and the hot copy,
-- which has the new mark by then, serves nobody.
local at

local function commit(hot, outbox)
  local expected, becomes = ARGV[at], ARGV[at + 1]
  local first = at + 7
  local last = first + ARGV[at + 5] - 1
  local stop = last + ARGV[at + 6]
  local head = redis.call('HGET', outbox, '@') or ''
  if string.sub(head, 1, #expected) ~= expected then
    return head
  end
  local known = redis.call('HGET', hot, '@')
  if known and known ~= head then
    redis.call('UNLINK', hot)
  end
  -- unpack is limited by the Lua stack (8,000 values).
  local to = math.min(last, first + 3999)
  redis.call('HSET', hot, '@', becomes, unpack(ARGV, first, to))
  for from = to + 1, last, 4000 do
    redis.call('HSET', hot, unpack(ARGV, from, math.min(last, from + 3999)))
  end
  for from = last + 1, stop, 4000 do
    redis.call('HDEL', hot, unpack(ARGV, from, math.min(stop, from + 3999)))
  end
  if ARGV[at + 2] ~= '0' then
    redis.call('PEXPIRE', hot, ARGV[at + 2])
  else
    redis.call('PERSIST', hot)
  end
  if ARGV[at + 3] == '' then
    redis.call('HSET', outbox, '@', becomes)
  else
    redis.call('HSET', outbox, '@', becomes, ARGV[at + 3], ARGV[at + 4])
  end
  return 0
end

local answers = {}
at = 1
for i = 1, #KEYS / 2 do
  local done, answer = pcall(commit, KEYS[2 * i - 1], KEYS[2 * i])
  if not done then
    answer = type(answer) == 'table' and answer.err or answer
    if string.find(answer, 'READONLY', 1, true) then
      return redis.error_reply('READONLY the server is a replica')
    end
    -- Any other error is of this session alone.
    answer = 'E' .. answer
  end
  answers[i] = answer
  at = at + 7 + ARGV[at + 5] + ARGV[at + 6]
end
return answers
