-- Nothing is public without a test: each function of the module and each method of its objects is
-- named in a spec, and in the annotations for editors.

local helper = require "tests.helper"
local describe, it, assert, mf = helper.describe, helper.it, helper.assert, helper.mf
local core = require "moonfleet.core"
local _ENV = _G -- luacheck: ignore 211

-- The texts of all specs but this one.
local function read_specs()
  local pipe <close> = io.popen("ls tests/*_spec.lua")
  local texts = {}
  for path in pipe:lines() do
    if not path:find("surface_spec") then texts[#texts + 1] = helper.read_file(path) end
  end
  return table.concat(texts, "\n")
end

-- name -> where it was found: the module's functions, and methods of an object of each class.
local function surface()
  local names = {}
  for key, value in pairs(mf) do
    if type(key) == "string" and not key:find("^_") and type(value) == "function" then
      names[key] = "mf." .. key
    end
  end
  local pool <close> = mf.Pool { backend = "serial" }
  local objects = { mf.Process(print), mf.Thread(print), mf.Queue(), mf.Lock(), mf.RLock(),
    mf.Semaphore(1), mf.BoundedSemaphore(1), mf.Event(), mf.Condition(), mf.Barrier(1),
    mf.Value("i8"), mf.Array("i8", 1), pool, pool:submit(math.abs, -1), (mf.range(1)),
    (mf.Pipe()) }
  for _, object in ipairs(objects) do
    local kind = core.type(object)
    local metatable = kind and core.metatable(kind) or debug.getmetatable(object)
    local methods = metatable and (rawget(metatable, "methods") or rawget(metatable, "__index"))
    for key, value in pairs(type(methods) == "table" and methods or {}) do
      if type(key) == "string" and not key:find("^_") and type(value) == "function" then
        names[key] = tostring(mf.type(object)) .. ":" .. key
      end
    end
  end
  return names
end

local function missing_in(text)
  local missing = {}
  for name, where in pairs(surface()) do
    if not text:find("%f[%w_]" .. name .. "%f[^%w_]") then missing[#missing + 1] = where end
  end
  table.sort(missing)
  return missing
end

describe("public surface", function()
  it("is named in the specs", function()
    assert.are.same({}, missing_in(read_specs()))
  end)

  it("is named in the annotations for editors", function()
    assert.are.same({}, missing_in(helper.read_file("lua/moonfleet/types.lua")))
  end)

  it("has everything that the contract names so far", function()
    for name in ([[Process Thread spawn current_process parent_process active_children cpu_count
      sleep time getpid Queue JoinableQueue SimpleQueue Pipe select wait_any Lock RLock
      Semaphore BoundedSemaphore Event Condition Barrier Value RawValue Array RawArray Pool
      ThreadPool pool map starmap imap imap_unordered istarmap reduce submit apply apply_async
      map_async starmap_async everywhere range iter encode decode captures register is_error type
      with set_backend poll fd inspect stats dump_waits]]):gmatch("%S+") do
      assert.is_not_nil(mf[name], name)
    end
    assert.is_nil(mf.no_such_function)
  end)
end)
