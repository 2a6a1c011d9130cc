-- Commits without an owner: the last write of a record wins.
-- KEYS[i]: the hash of session i.
-- ARGV, for each session: the version expected or "", the number of patches, the commit id, the time in ms, the
-- time to live in ms or "0", twice the number of puts, the number of deletes; fields and values; deleted fields.
-- Answer, for each session: "+version:updated" if committed, now or before; else what "@" holds ("" for nothing),
-- or "E" and an error. What only deletes does so first: see commit.lua.
local answers = {}
local at = 1
for i = 1, #KEYS do
  local key, expected, id, ttl = KEYS[i], ARGV[at], ARGV[at + 2], ARGV[at + 4]
  local first = at + 7
  local last = first + ARGV[at + 5] - 1
  local stop = last + ARGV[at + 6]
  local head = redis.pcall('HGET', key, '@')
  if type(head) == 'table' then
    answers[i] = 'E' .. head.err
  else
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
      answers[i] = head
    elseif string.find(ids, id, 1, true) then
      answers[i] = '+' .. version .. ':' .. updated
    elseif expected ~= '' and expected ~= version then
      answers[i] = head or ''
    else
      version = string.format('%.0f', version + ARGV[at + 1])
      -- The last eight commit ids, so that one sent again is known although others came between.
      ids = string.sub(id .. ',' .. ids, 1, 8 * 17)
      local becomes = token .. ':' .. version .. ':' .. id .. ':' .. (ttl ~= '0' and 't' or '-') .. ':'
        .. ARGV[at + 3] .. ':' .. ids
      local puts = last >= first
      local from, to = last + 1, first - 1
      while not puts and from <= stop do
        to = math.min(stop, from + 3999)
        redis.call('HDEL', key, unpack(ARGV, from, to))
        from = to + 1
      end
      to = math.min(last, first + 3999)
      redis.call('HSET', key, '@', becomes, unpack(ARGV, first, to))
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
      elseif flag == 't' then
        redis.call('PERSIST', key)
      end
      answers[i] = '+' .. version .. ':' .. ARGV[at + 3]
    end
  end
  at = stop + 1
end
return answers
