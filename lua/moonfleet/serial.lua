-- What mf.with("serial") gives.

return require("moonfleet.with").make("serial")
