-- The same as exchange.exchange in Python, in one step on the server; see there for what it means.
--
-- KEYS: the index of counters (a sorted set by expiry), the same by the age at which they may be forgotten, the
-- age of the store, then one hash for each line of the request.
-- ARGV: number, ttl, the age that the caller has measured, then 15 values for each line, in the order of
-- exchange.Ask without the counter.
-- A hash holds "s:<part>" = settled units, "l:<lease>" = "number total held expires charge forget_at", "meta".
-- Answers now, granted, stale, age, and settled, others, held, refused, frees_at for each line, all as text:
-- the client would cut fractions off numbers.

if redis.replicate_commands then pcall(redis.replicate_commands) end  -- needed before Redis 7 to write after TIME

local FORGOTTEN_AFTER, LEFT_AFTER, LEASES_KEPT, MARGIN = 3600, 60, 1000, 120
local YEAR = 366 * 86400  -- after which what nobody uses any more goes, by the server's clock alone
local FIRST, VALUES = 3, 15

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local number, ttl = tonumber(ARGV[1]), tonumber(ARGV[2])

local function whole(amount) return string.format('%.0f', amount) end
local function moment(seconds) return string.format('%.6f', seconds) end

local age_of_store = math.max(tonumber(redis.call('GET', KEYS[3]) or '0'), tonumber(ARGV[3]))
redis.call('SET', KEYS[3], moment(age_of_store))

local function parse_lease(text)
  local n, total, held, expires, charge, forget_at = string.match(text, '(%S+) (%S+) (%S+) (%S+) (%S+) ?(%S*)')
  return {
    number = tonumber(n), total = tonumber(total), held = tonumber(held),
    expires = tonumber(expires), charge = charge == '1', forget_at = tonumber(forget_at) or 0,
  }
end

local function write_lease(line, name, lease)
  redis.call('HSET', line.key, 'l:' .. name, table.concat({
    whole(lease.number), whole(lease.total), whole(lease.held), moment(lease.expires), lease.charge and '1' or '0',
    moment(lease.forget_at),
  }, ' '))
end

local lines = {}
for index = FIRST + 1, #KEYS do
  local at = FIRST + (index - FIRST - 1) * VALUES
  local line = {
    key = KEYS[index], mine = ARGV[at + 1],
    limit = tonumber(ARGV[at + 2]), total = tonumber(ARGV[at + 3]), hold = tonumber(ARGV[at + 4]),
    need = tonumber(ARGV[at + 5]), want = tonumber(ARGV[at + 6]), start = tonumber(ARGV[at + 7]),
    stop = tonumber(ARGV[at + 8]), span = tonumber(ARGV[at + 9]), part = tonumber(ARGV[at + 10]),
    kept = tonumber(ARGV[at + 11]), firm = ARGV[at + 12] == '1', charge = ARGV[at + 13] == '1',
    leave = ARGV[at + 14] == '1', meta = ARGV[at + 15], spent = {}, leases = {}, known = 0,
  }
  local fields = redis.call('HGETALL', line.key)
  for place = 1, #fields, 2 do
    local kind, name = string.sub(fields[place], 1, 2), string.sub(fields[place], 3)
    if kind == 's:' then
      line.spent[tonumber(name)] = tonumber(fields[place + 1])
    elseif kind == 'l:' then
      line.leases[name] = parse_lease(fields[place + 1])
      line.known = line.known + 1
    end
  end
  if line.leases[line.mine] and number < line.leases[line.mine].number then
    return { moment(now), '0', '1', moment(age_of_store) }
  end
  lines[#lines + 1] = line
end

local function settle(line, amount)
  local part = line.part > 0 and math.floor(now / line.part) or 0
  line.spent[part] = (line.spent[part] or 0) + amount
  redis.call('HSET', line.key, 's:' .. whole(part), whole(line.spent[part]))
end

local function in_window(line, part)
  return line.part == 0 or (part + 1) * line.part > now - line.span
end

local function age(line)
  if line.part > 0 then
    local left, parts = {}, 0
    for part in pairs(line.spent) do
      parts = parts + 1
      if not in_window(line, part) then left[#left + 1] = part end
    end
    table.sort(left)
    for place = 1, math.min(#left, parts - 3 * math.floor(line.span / line.part + 0.5)) do
      line.spent[left[place]] = nil
      redis.call('HDEL', line.key, 's:' .. whole(left[place]))
    end
  end
  for name, lease in pairs(line.leases) do
    if lease.expires <= now and name ~= line.mine then
      local old = lease.forget_at <= age_of_store or line.known > LEASES_KEPT
      if old and lease.expires + FORGOTTEN_AFTER <= now then
        line.known = line.known - 1
        redis.call('HDEL', line.key, 'l:' .. name)
        line.leases[name] = nil
      elseif lease.held > 0 then
        if lease.charge then settle(line, lease.held) end
        lease.held = 0
        write_lease(line, name, lease)
      end
    end
  end
end

local function sums(line)
  line.settled, line.others, line.holders = 0, 0, 1
  for part, amount in pairs(line.spent) do
    if in_window(line, part) then line.settled = line.settled + amount end
  end
  for name, lease in pairs(line.leases) do
    if name ~= line.mine and lease.held > 0 then
      line.others = line.others + lease.held
      line.holders = line.holders + 1
    end
  end
end

local granted, stale = true, false
for _, line in ipairs(lines) do
  age(line)
  local before = line.leases[line.mine]
  local reported = before and before.total or 0
  if line.total > reported then settle(line, line.total - reported) end
  sums(line)
  line.room = line.limit - line.settled - line.others - line.hold
  line.refused = line.firm and line.need > math.max(0, line.room)
  line.reported = math.max(line.total, reported)
  if line.refused then granted = false end
  if line.need > 0 and line.stop > 0 and not (line.start <= now and now < line.stop) then stale = true end
end
if stale then granted = false end

local answer = { moment(now), granted and '1' or '0', stale and '1' or '0', moment(age_of_store) }
for _, line in ipairs(lines) do
  local held = line.hold
  if granted then
    local spare = math.floor(math.max(0, line.room) / (2 * line.holders))
    held = held + math.max(line.need, math.min(line.want, spare))
  end
  local left = line.leave and LEFT_AFTER - FORGOTTEN_AFTER or ttl
  write_lease(line, line.mine, {
    number = number, total = line.reported, held = held, charge = line.charge,
    expires = now + left, forget_at = age_of_store + left + FORGOTTEN_AFTER,
  })
  local expires = math.max(line.stop, now) + line.kept
  redis.call('HSET', line.key, 'meta', line.meta)
  redis.call('PEXPIREAT', line.key, whole((expires + YEAR) * 1000))
  redis.call('ZADD', KEYS[1], moment(expires), line.key)
  redis.call('ZADD', KEYS[2], moment(age_of_store + expires - now + MARGIN), line.key)
  local frees_at = 0
  if line.part > 0 then
    for part in pairs(line.spent) do
      local leaves = (part + 1) * line.part + line.span
      if in_window(line, part) and (frees_at == 0 or leaves < frees_at) then frees_at = leaves end
    end
  end
  answer[#answer + 1] = whole(line.settled)
  answer[#answer + 1] = whole(line.others)
  answer[#answer + 1] = whole(held)
  answer[#answer + 1] = line.refused and '1' or '0'
  answer[#answer + 1] = moment(frees_at)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. moment(now - YEAR))
return answer
