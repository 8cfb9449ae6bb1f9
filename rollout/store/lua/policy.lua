-- policy: read the pinned policy, else the one recorded last. No args.
-- needs: keys
local pinned = call('HGETALL', key('pinned'))
if #pinned > 0 then return pinned end
return call('HGETALL', key('policy'))
