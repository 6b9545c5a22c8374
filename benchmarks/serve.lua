-- For wrk: each request has another history of nine items, ids 1 to 12000.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local path = "/v1/models/ufnrec:predict"
local count = 0

request = function()
  count = count + 1
  local ids = {}
  for place = 1, 9 do
    ids[place] = '"' .. tostring((count * 37 + place * 101) % 12000 + 1) .. '"'
  end
  return wrk.format(nil, path, nil, '{"instances":[[' .. table.concat(ids, ",") .. "]]}")
end
