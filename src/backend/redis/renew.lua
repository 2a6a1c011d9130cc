-- Makes leases last on.
-- KEYS, for each session: its hash, its lease. ARGV: the lease in ms, then for each session the token and the version
-- that its owner knows of.
-- Answer, for each session: 0 renewed, 1 somebody else has taken it since, 2 the session was lost, or "E" and an error.
local function renew(hash, key, token, version)
  local lease = redis.call('GET', key)
  local holder = lease and string.match(lease, '^(%d+) ')
  if lease and holder ~= token then
    return 1
  end
  local head, owner = unpack(redis.call('HMGET', hash, '@', '@owner'))
  local current, stands = string.match(head or '', '^(%d+):(%d+):')
  if not current or not owner then
    return 2
  end
  if current ~= token then
    return tonumber(current) > tonumber(token) and 1 or 2
  end
  if tonumber(stands) < tonumber(version) then
    return 2
  end
  if lease then
    redis.call('PEXPIRE', key, ARGV[1])
  else
    -- It ran out. While nobody else has taken it, it is still ours. A server that is out of memory lets it through
    -- after a command that needs none.
    redis.call('DEL', key)
    redis.call('SET', key, token .. ' ' .. owner, 'PX', ARGV[1])
  end
  return 0
end

local answers = {}
for i = 1, #KEYS / 2 do
  local done, answer = pcall(renew, KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i], ARGV[2 * i + 1])
  if not done then
    answer = type(answer) == 'table' and answer.err or answer
    if string.find(answer, 'READONLY', 1, true) then
      return redis.error_reply('READONLY the server is a replica')
    end
    -- Any other error is of this session alone.
    answer = 'E' .. answer
  end
  answers[i] = answer
end
return answers
