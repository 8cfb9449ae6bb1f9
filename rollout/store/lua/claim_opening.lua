-- claim_opening: of two callers that open one episode in two shards at a time, the first decides. It runs in the shard of the id.
-- args: episode, shard. Returns the shard of the first.
-- needs: keys
local OPENING_MS = 20000  -- longer than a call takes that is sent twice
local name = key('found.claim:' .. args[1])
if call('SET', name, args[2], 'NX', 'PX', OPENING_MS) then return args[2] end
return call('GET', name)
