-- unlock: give back a lock if it is ours. args: name, owner.
-- needs: keys
local lock = key('lock:' .. args[1])
if call('GET', lock) == args[2] then call('DEL', lock) end
return 1
