-- policy: read the pinned policy, else the one recorded last, and which of them it is. No args.
-- needs: keys
local pinned = call('HGETALL', key('pinned'))
if #pinned > 0 then return {'pinned', pinned} end
return {'policy', call('HGETALL', key('policy'))}
