-- Takes commits into hot copies and, if asked, their entries into the outboxes; each atomic by itself.
-- KEYS, for each session: hot copy, outbox.
-- ARGV, for each session: what the outbox's "@" begins with if the owner may write ("token:base:"), what it becomes,
-- the hot copy's time to live in ms or "0", the version of the entry or "", the entry, twice the number of puts, the
-- number of deletes; fields and values; deleted fields.
-- Answer, for each session: 0 if done; else what "@" holds ("" for nothing), or "E" and an error.
-- The outbox is written last: a commit that fails midway is not taken for done when it is sent again, and the hot copy,
-- which has the new mark by then, serves nobody.
local function commit(i)
  local hot, outbox = KEYS[2 * i - 1], KEYS[2 * i]
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
  write(hot, to + 1, last, stop)
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

return commit_each(#KEYS / 2, 7, commit)
