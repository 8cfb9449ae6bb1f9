-- limit_start: count a call against its key's limits, or refuse it and count nothing. A limit of 0 is none.
-- Returns what refuses it (requests, tokens, concurrent or ''), ms until it may be tried, the rest of the requests, ms until
-- they are all free, the same two of the tokens, the tokens that are counted until the call ends, and the slot.
-- Before a call of the key has ended, nothing is known of its calls: eight at a time pass, each for an eighth of the limit.
-- args: key, call or '', lease in ms, window in ms, limits of requests, tokens (0 for a call that samples none) and calls
-- needs: keys, memory, window
keep_in_memory()  -- a crash of Redis starts the minute anew, without the calls that run
local id, call_id = args[1], args[2]
local lease_ms, window_ms, max_requests, max_tokens, max_calls =
  tonumber(args[3]), tonumber(args[4]), tonumber(args[5]), tonumber(args[6]), tonumber(args[7])
local at, slot_ms = milliseconds_now(), window_ms / 60
local slot = math.floor(at / slot_ms)
local requests, tokens = limit_key('requests', id), limit_key('tokens', id)
local running = limit_key('running', id)
local refused, wait = '', 0

if max_calls > 0 and call_id ~= '' then
  call('ZREMRANGEBYSCORE', cleaned(running, 'zset'), '-inf', at)
  if call('ZCARD', running) >= max_calls then refused, wait = 'concurrent', 1000 end
end

local num_requests, request_slots, num_tokens, token_slots, expected = 0, {}, 0, {}, 0
if max_requests > 0 then
  num_requests, request_slots = used(requests, slot)
  if refused == '' and num_requests >= max_requests then
    refused = 'requests'
    wait = until_free(at, slot_ms, request_slots, num_requests - max_requests + 1)
  end
end
if max_tokens > 0 then
  num_tokens, token_slots = used(tokens, slot)
  expected = math.floor(tonumber(call('HGET', tokens, 'mean') or '') or math.ceil(max_tokens / 8))
  if refused == '' and num_tokens > 0 and num_tokens + expected > max_tokens then
    refused = 'tokens'
    wait = until_free(at, slot_ms, token_slots, num_tokens + expected - max_tokens)
  end
end

if refused == '' then
  if max_requests > 0 then
    add_use(requests, slot, 1, window_ms)
    num_requests = num_requests + 1
    request_slots[#request_slots + 1] = {slot, 1}
  end
  if max_tokens > 0 then
    add_use(tokens, slot, expected, window_ms)
    num_tokens = num_tokens + expected
    token_slots[#token_slots + 1] = {slot, expected}
  end
  if max_calls > 0 and call_id ~= '' then
    call('ZADD', running, at + lease_ms, call_id)
    call('PEXPIRE', running, 2 * lease_ms)
  end
end
return {
  refused, wait,
  math.max(0, max_requests - num_requests), until_free(at, slot_ms, request_slots),
  math.max(0, max_tokens - num_tokens), until_free(at, slot_ms, token_slots),
  expected, string.format('%d', slot),
}
