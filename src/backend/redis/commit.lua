-- Commits of owners, each atomic by itself.
-- KEYS[i]: the hash of session i.
-- ARGV, for each session: what "@" begins with if the owner may write ("token:base:"), what "@" becomes, the
-- time to live in ms or "0", twice the number of puts, the number of deletes; fields and values; deleted fields.
-- Answer, for each session: 0 if committed; else what "@" holds ("" for nothing), or "E" and an error.
-- "@" goes with the last command that writes: a commit that fails midway is not taken for done when it is sent again.
-- What only deletes needs no memory for its first command, so that a server that is out of it lets it through.
local function commit(i)
  local key = KEYS[i]
  local expected, ttl = ARGV[at], ARGV[at + 2]
  local first = at + 5
  local last = first + ARGV[at + 3] - 1
  local stop = last + ARGV[at + 4]
  local head = redis.call('HGET', key, '@') or ''
  if string.sub(head, 1, #expected) ~= expected then
    return head
  end
  -- The flag stands behind the commit id of 16 digits and a colon.
  local lift = ttl == '0' and string.byte(head, #expected + 18) == 116
  if last == stop and ttl == '0' and not lift and last - first < 3998 then
    redis.call('HSET', key, '@', ARGV[at + 1], unpack(ARGV, first, last))
    return 0
  end
  if must_not_delete(key, first, last, stop) then
    return 'ENOPERM HDEL'
  end
  write(key, first, last, stop)
  if ttl ~= '0' then
    redis.call('PEXPIRE', key, ttl)
  elseif lift then
    redis.call('PERSIST', key)
  end
  redis.call('HSET', key, '@', ARGV[at + 1])
  return 0
end

return commit_each(#KEYS, 5, commit)
