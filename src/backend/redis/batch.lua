-- Stands before each script that commits for many sessions. ARGV has, for each of them: what the script says, ending with
-- twice the number of puts and the number of deletes; fields and values; deleted fields.

-- Where in ARGV the session's part begins.
local at = 1

-- Calls `commit` with the number of each of `count` sessions, whose parts have `heading` arguments before the fields.
local function commit_each(count, heading, commit)
  local answers = {}
  for i = 1, count do
    local done, answer = pcall(commit, i)
    if not done then
      answer = type(answer) == 'table' and answer.err or answer
      if string.find(answer, 'READONLY', 1, true) then
        return redis.error_reply('READONLY the server is a replica')
      end
      -- Any other error is of this session alone.
      answer = 'E' .. answer
    end
    answers[i] = answer
    at = at + heading + ARGV[at + heading - 2] + ARGV[at + heading - 1]
  end
  return answers
end

-- Puts the fields and values from `first` to `last`, and deletes the fields after them, up to `stop`.
local function write(key, first, last, stop)
  -- unpack is limited by the Lua stack (8,000 values).
  for from = first, last, 4000 do
    redis.call('HSET', key, unpack(ARGV, from, math.min(last, from + 3999)))
  end
  for from = last + 1, stop, 4000 do
    redis.call('HDEL', key, unpack(ARGV, from, math.min(stop, from + 3999)))
  end
end

-- Whether the user may put but not delete, where both are to be done. Redis 6.2 cannot be asked.
local function must_not_delete(key, first, last, stop)
  return last >= first and stop > last and redis.acl_check_cmd and not redis.acl_check_cmd('HDEL', key, '@')
end

