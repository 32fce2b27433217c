-- What mf.with("process") gives.

return require("moonfleet.with").make("process")
