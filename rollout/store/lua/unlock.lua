-- unlock: release a lock if the owner holds it. args: name, owner.
-- needs: keys
local lock = key('lock:' .. args[1])
if call('GET', lock) == args[2] then call('DEL', lock) end
return 1
