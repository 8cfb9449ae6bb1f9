-- limit_renew: keep the calls of a living gateway counted as running, unless they have ended since it looked.
-- args: lease in ms, then pairs of key and call
-- needs: keys, memory, window
keep_in_memory()  -- a crash of Redis forgets the calls; one that it forgot is not counted again
local lease_ms = tonumber(args[1])
local at = milliseconds_now()
for index = 2, #args, 2 do
  local running = cleaned(limit_key('running', args[index]), 'zset')
  call('ZADD', running, 'XX', at + lease_ms, args[index + 1])
  call('PEXPIRE', running, 2 * lease_ms)
end
