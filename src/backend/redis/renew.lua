-- Makes leases last on.
-- KEYS, for each session: its hash, its lease. ARGV: the lease in ms, then the token of each session.
-- Answer, for each session: 0 renewed, 1 somebody else has taken it since, 2 the session was lost, or "E" and an error.
local answers = {}
for i = 1, #KEYS / 2 do
  local hash, key, token = KEYS[2 * i - 1], KEYS[2 * i], ARGV[i + 1]
  local lease = redis.pcall('GET', key)
  local fields = lease or redis.pcall('HMGET', hash, '@', '@owner')
  if type(fields) == 'table' and fields.err then
    -- Something foreign stands there; the other sessions are not to suffer for it.
    answers[i] = 'E' .. fields.err
  elseif lease then
    if string.sub(lease, 1, #token + 1) == token .. ' ' then
      redis.call('PEXPIRE', key, ARGV[1])
      answers[i] = 0
    else
      answers[i] = 1
    end
  else
    -- It ran out. While nobody else has taken it, it is still ours.
    local head, owner = unpack(fields)
    local current = head and string.match(head, '^(%d+):')
    if not current or not owner then
      answers[i] = 2
    elseif current == token then
      redis.call('DEL', key)
      redis.call('SET', key, token .. ' ' .. owner, 'PX', ARGV[1])
      answers[i] = 0
    else
      answers[i] = tonumber(current) > tonumber(token) and 1 or 2
    end
  end
end
return answers
