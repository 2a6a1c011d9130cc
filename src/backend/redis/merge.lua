-- Commits without an owner: the last write of a record wins.
-- KEYS[i]: the hash of session i.
-- ARGV, for each session: the version expected or "", the version that the writer has seen, the number of patches, the
-- commit id, the time in ms, the time to live in ms or "0", twice the number of puts, the number of deletes; fields and
-- values; deleted fields.
-- Answer, for each session: "+version:updated" if committed, "=version:updated" if it was before; else what "@" holds ("" for nothing),
-- or "E" and an error. In which order it writes: see commit.lua.
local function merge(i)
  local key = KEYS[i]
  local expected, seen, id, ttl = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 5]
  local first = at + 8
  local last = first + ARGV[at + 6] - 1
  local stop = last + ARGV[at + 7]
  local head = redis.call('HGET', key, '@')
  local token, version, flag, updated, ids = '0', '0', '-', '0', ''
  if head then
    local latest
    token, version, latest, flag, updated, ids =
      string.match(head, '^(%d+):(%d+):(%x+):([t-]):(%d+):([%x,]*)$')
    if token and not string.find(ids, latest, 1, true) then
      ids = latest .. ',' .. ids
    end
  end
  if not token then
    return head
  end
  if string.find(ids, id, 1, true) then
    return '=' .. version .. ':' .. updated
  end
  -- Behind what the writer has seen there is another session, or none.
  if expected ~= '' and expected ~= version or tonumber(version) < tonumber(seen) then
    return head or ''
  end
  if must_not_delete(key, first, last, stop) then
    return 'ENOPERM HDEL'
  end
  version = string.format('%.0f', version + ARGV[at + 2])
  -- The last eight commit ids, so that one sent again is known although others came between.
  ids = string.sub(id .. ',' .. ids, 1, 8 * 17)
  local becomes = token .. ':' .. version .. ':' .. id .. ':' .. (ttl ~= '0' and 't' or '-') .. ':'
    .. ARGV[at + 4] .. ':' .. ids
  if last == stop and ttl == '0' and flag ~= 't' and last - first < 3998 then
    redis.call('HSET', key, '@', becomes, unpack(ARGV, first, last))
    return '+' .. version .. ':' .. ARGV[at + 4]
  end
  write(key, first, last, stop)
  if ttl ~= '0' then
    redis.call('PEXPIRE', key, ttl)
  elseif flag == 't' then
    redis.call('PERSIST', key)
  end
  redis.call('HSET', key, '@', becomes)
  if ttl ~= '0' and not head then
    redis.call('PEXPIRE', key, ttl)
  end
  return '+' .. version .. ':' .. ARGV[at + 4]
end

return commit_each(#KEYS, 8, merge)
