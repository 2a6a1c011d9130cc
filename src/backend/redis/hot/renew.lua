-- Makes leases last on. KEYS, for each session: outbox, lease.
-- ARGV: the lease in ms, the owner; for each session the token and the attempt.
-- Answer, for each session: 0 renewed, 1 somebody else owns the session, 2 not known, 3 somebody else is asking for it.
local answers = {}
for i = 1, #KEYS / 2 do
  local outbox, key, token, attempt = KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i + 1], ARGV[2 * i + 2]
  local head = redis.call('HGET', outbox, '@')
  local current = head and string.match(head, '^(%d+):')
  if not current or tonumber(current) < tonumber(token) then
    answers[i] = 2
  elseif current ~= token then
    answers[i] = 1
  else
    local lease = redis.call('GET', key)
    if not lease then
      redis.call('SET', key, token .. ' ' .. attempt .. ' ' .. ARGV[2], 'PX', ARGV[1])
      answers[i] = 0
    elseif string.sub(lease, 1, #token + 1) == token .. ' ' then
      redis.call('PEXPIRE', key, ARGV[1])
      answers[i] = 0
    else
      answers[i] = 3
    end
  end
end
return answers
