-- Forgets the counters that are over by the server's clock and by the age of the store; see exchange.lua.
--
-- KEYS: the two sorted sets and the age as in exchange.lua, then counters that may be over. Answers how many were.

if redis.replicate_commands then pcall(redis.replicate_commands) end  -- needed before Redis 7 to write after TIME

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local age = tonumber(redis.call('GET', KEYS[3]) or '0')
local forgotten = 0

for index = 4, #KEYS do
  local expires = tonumber(redis.call('ZSCORE', KEYS[1], KEYS[index]) or '0')
  local forget_at = tonumber(redis.call('ZSCORE', KEYS[2], KEYS[index]) or '0')
  if expires <= now and forget_at <= age then
    redis.call('DEL', KEYS[index])
    redis.call('ZREM', KEYS[1], KEYS[index])
    redis.call('ZREM', KEYS[2], KEYS[index])
    forgotten = forgotten + 1
  end
end
return forgotten
