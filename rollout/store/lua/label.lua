-- label: the episode of a label, and 1 if a call is about to open it. args: key, label. Nothing if it has none.
-- needs: keys
local id = call('GET', key('found.label:' .. args[1] .. ':' .. args[2]))
return id and {id, call('EXISTS', opening_key(id))}
