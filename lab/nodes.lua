-- What prometheus-redis-exporter needs to export the same values: key and value of every sample in turn.
local fields = { 'portfolio_count', 'queue_size', 'cpu_usage', 'memory_usage',
                 'total_events', 'backpressure_count', 'dropped_events' }
local samples = {}
for _, key in ipairs(redis.call('KEYS', 'node:metrics:*')) do
  local node = string.sub(key, 14)
  local values = redis.call('HMGET', key, unpack(fields))
  local ttl = redis.call('PTTL', 'heartbeat:node:' .. node)
  local beat = redis.call('GET', 'heartbeat:node:' .. node)
  local status = redis.call('HGET', key, 'status')
  local function add(name, value)
    samples[#samples + 1] = node .. '/' .. name
    samples[#samples + 1] = tostring(value)
  end
  for i, field in ipairs(fields) do
    if values[i] then add(field, values[i]) end
  end
  add('up', ttl > 0 and 1 or 0)
  add('ttl', ttl / 1000)
  if beat then
    -- Days since 1970, by the proleptic Gregorian calendar.
    local y, m, d, hour, minute, second = string.match(beat, '(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)')
    y, m, d = tonumber(y), tonumber(m), tonumber(d)
    if m <= 2 then y, m = y - 1, m + 12 end
    local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
               + math.floor((153 * (m - 3) + 2) / 5) + d - 719469
    add('beat', string.format('%.6f', days * 86400 + hour * 3600 + minute * 60 + second))
  end
  if status then
    for _, known in ipairs({ 'RUNNING', 'PAUSED', 'STOPPED' }) do
      add('status/' .. known, status == known and 1 or 0)
    end
  end
end
return samples
