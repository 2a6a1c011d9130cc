-- Takes the lease of a session and reads some of its records.
-- KEYS: the session's hash, its lease.
-- ARGV: the request ID (16 digits), the owner, the lease in ms, the caller's own token or "", the token of the holder
-- to preempt or "", then the records to read.
-- Answer: {"fenced", accepted} | {"held", lease, ms} | {"granted", head, records…}
local hash, key = KEYS[1], KEYS[2]
local request_id, claim, preempted = ARGV[1], ARGV[4], ARGV[5]
local head, accepted = unpack(redis.call('HMGET', hash, '@', '@claim'))
if claim ~= '' and accepted and tonumber(claim) < tonumber(accepted) then
  return { 'fenced', accepted }
end

local lease = redis.call('GET', key)
local previous, tail = 0, nil
if head then
  local token
  token, tail = string.match(head, '^(%d+)(:%d+:%x+:[t-]:%d+:[%x,]*)$')
  if not token then
    return { 'corrupt' }
  end
  previous = tonumber(token)
end
local again = false
if lease then
  local holder, by = string.match(lease, '^(%d+) (%x+) ')
  if not holder then
    return { 'corrupt' }
  end
  -- The answer of this very request ID was lost and the client library sent it again.
  again = by == request_id and tonumber(holder) == previous
  if holder ~= preempted and not again then
    return { 'held', lease, redis.call('PTTL', key) }
  end
  previous = math.max(previous, tonumber(holder))
end

if not again then
  -- Taken from the clock, tokens grow even if the session was deleted or lost meanwhile.
  local now = redis.call('TIME')
  local token = string.format('%.0f', math.max(previous + 1, now[1] * 1000000 + now[2]))
  if not tail or string.sub(tail, 1, 3) == ':0:' then
    -- What is remembered of a deleted session has a time limit, which must not pass to the new one.
    tail = ':0:0000000000000000:-:0:'
    redis.call('PERSIST', hash)
  end
  head = token .. tail
  local owner = request_id .. ' ' .. ARGV[2]
  -- After a command that needs no memory, a server that is out of it lets the others through: who wants to delete
  -- needs the lease.
  redis.call('DEL', key)
  redis.call('HSET', hash, '@', head, '@owner', owner)
  if claim ~= '' then
    redis.call('HSET', hash, '@claim', claim)
  end
  redis.call('SET', key, token .. ' ' .. owner, 'PX', ARGV[3])
end

local answer = { 'granted', head }
for from = 6, #ARGV, 4000 do
  local values = redis.call('HMGET', hash, unpack(ARGV, from, math.min(#ARGV, from + 3999)))
  for i = 1, #values do
    answer[#answer + 1] = values[i]
  end
end
return answer
