-- limit_use: count one more of a kind against its key's limit per window. Returns 0, or the ms until it may be tried again.
-- args: kind, key, window in ms, limit
-- needs: keys, memory, window
keep_in_memory()  -- a crash of Redis starts the minute anew
local name, window_ms, most = limit_key(args[1], args[2]), tonumber(args[3]), tonumber(args[4])
local at, slot_ms = milliseconds_now(), window_ms / 60
local slot = math.floor(at / slot_ms)
local sum, slots = used(name, slot)
if sum >= most then return until_free(at, slot_ms, slots, sum - most + 1) end
add_use(name, slot, 1, window_ms)
return 0
