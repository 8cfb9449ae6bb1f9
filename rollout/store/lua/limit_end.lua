-- limit_end: a call has ended; what it used replaces what was expected of it.
-- args: key, call or '', window in ms, 1 if tokens are limited, the tokens it used, those expected of it, and its slot
-- needs: keys, memory, window
keep_in_memory()  -- a crash of Redis starts the minute anew, without the calls that run
local id, call_id, counts_tokens = args[1], args[2], args[4] == '1'
local window_ms, actual, expected, started = tonumber(args[3]), tonumber(args[5]), tonumber(args[6]), tonumber(args[7])
if call_id ~= '' then call('ZREM', cleaned(limit_key('running', id), 'zset'), call_id) end
if counts_tokens then
  local tokens = cleaned(limit_key('tokens', id), 'hash')
  local slot = math.floor(milliseconds_now() / (window_ms / 60))
  if started > slot - NUM_SLOTS and call('HEXISTS', tokens, string.format('%d', started)) == 1 then
    add_use(tokens, started, actual - expected, window_ms)
  else
    add_use(tokens, slot, actual, window_ms)
  end
  -- What the next call is expected to use: an average in which a call counts an eighth.
  local mean = tonumber(call('HGET', tokens, 'mean') or actual) or actual
  if actual > 0 then call('HSET', tokens, 'mean', math.floor(mean + (actual - mean) / 8)) end
end
