-- A session is a key that stands for one episode after another. It is remembered for a day after its last call.
local SESSION_MS = 86400000

-- The id of the session's episode, or '' if it has none.
local function session_episode(session)
  local name = key('session:' .. session)
  local id = call('GET', name)
  if not id then return '' end
  call('PEXPIRE', name, SESSION_MS)
  return id
end
