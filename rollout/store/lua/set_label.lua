-- set_label: give a label another episode, if it still has the one that was read. Returns the one that it has now.
-- args: key, label, the one that was read or '', the new one, 1 if a call is about to open it
-- needs: keys
local owner, label, before, id, is_opening = unpack(args)
local OPENING_MS = 30000  -- as in find.lua
local name = key('found.label:' .. owner .. ':' .. label)
local found = call('GET', name) or ''
if found ~= before then return found end
call('SET', name, id, 'PX', idle_ms)
if is_opening == '1' then call('SET', opening_key(id), '', 'PX', OPENING_MS) end
return id
