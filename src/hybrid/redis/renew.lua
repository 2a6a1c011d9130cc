-- Makes leases last on. KEYS, for each session: outbox, lease.
-- ARGV: the lease in ms, the owner; for each session the token, the request ID and the version that the owner knows to
-- be in the outbox, or 0.
-- Answer, for each session: 0 renewed, 1 somebody else owns the session, 2 not known, 3 somebody else is asking for it,
-- or "E" and an error.
local function renew(outbox, key, token, request_id, version)
  local head = redis.call('HGET', outbox, '@')
  local current, stands = string.match(head or '', '^(%d+):(%d+):')
  if not current or tonumber(current) < tonumber(token) then
    return 2
  end
  if current ~= token then
    return 1
  end
  if tonumber(stands) < tonumber(version) then
    return 2
  end
  local lease = redis.call('GET', key)
  if not lease then
    redis.call('SET', key, token .. ' ' .. request_id .. ' ' .. ARGV[2], 'PX', ARGV[1])
  elseif string.sub(lease, 1, #token + 1) == token .. ' ' then
    redis.call('PEXPIRE', key, ARGV[1])
  else
    return 3
  end
  return 0
end

local answers = {}
for i = 1, #KEYS / 2 do
  local done, answer = pcall(renew, KEYS[2 * i - 1], KEYS[2 * i], ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2])
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
