-- lock: take a lock that nobody holds, or keep it. args: name, owner, lease in ms. Returns 1 if the owner holds it.
-- needs: keys
local lock = key('lock:' .. args[1])
if call('GET', lock) == args[2] then return call('PEXPIRE', lock, args[3]) end
return call('SET', lock, args[2], 'NX', 'PX', args[3]) and 1 or 0
