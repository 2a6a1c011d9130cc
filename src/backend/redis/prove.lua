-- Whether this user may run what the scripts use. Redis 7 is asked; 6.2 has to try.
-- ARGV: names of a hash and of a string that nobody else uses, "1" in a cluster, then more commands.
-- Answer: what is refused, separated by spaces.
local hash, key = ARGV[1], ARGV[2]
local commands = {
  { 'HSET', hash, '@', '1' }, { 'HGET', hash, '@' }, { 'HMGET', hash, '@' }, { 'HDEL', hash, 'a' },
  { 'HSCAN', hash, '0' }, { 'PEXPIRE', hash, '60000' }, { 'PERSIST', hash }, { 'SET', key, '1', 'PX', '60000' },
  { 'GET', key }, { 'EXISTS', key }, { 'PTTL', key }, { 'TIME' }, { 'DEL', key }, { 'UNLINK', hash },
}
for i = 4, #ARGV do
  commands[#commands + 1] = { ARGV[i], hash }
end
local refused = {}
for _, command in ipairs(commands) do
  local allowed = true
  if redis.acl_check_cmd then
    local known, may = pcall(redis.acl_check_cmd, unpack(command))
    allowed = known and may
  elseif ARGV[3] ~= '1' then
    -- In a cluster the keys may be another node's.
    local answer = redis.pcall(unpack(command))
    local why = type(answer) == 'table' and answer.err or ''
    allowed = not (string.find(why, 'executing the script', 1, true) or string.find(why, 'nknown', 1, true))
  end
  if not allowed then
    refused[#refused + 1] = command[1]
  end
end
return table.concat(refused, ' ')
