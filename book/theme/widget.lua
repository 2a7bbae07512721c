-- Puts an interactive figure where a chapter has `::: {.widget file="book/widgets/name.html"}`; the text inside is its caption.
-- On pages the file itself is shown, in print and EPUB the picture beside it, name.png. Both builders use this filter. A
-- widget that came out of a code cell would make Quarto load two scripts from the network.

local root = "."

local function read_root(meta)
  if meta["project-root"] then
    root = pandoc.utils.stringify(meta["project-root"])
  elseif quarto and quarto.project and quarto.project.directory then
    root = quarto.project.directory
  end
end

local function read(path)
  local file = io.open(path, "r") or error("widget: cannot read " .. path)
  local text = file:read("a")
  file:close()
  return text
end

local function on_page(name, caption)
  return {
    pandoc.RawBlock("html", read(root .. "/" .. name)),
    pandoc.Div(caption, pandoc.Attr("", { "widget-caption" })),
  }
end

local function on_paper(name, caption)
  local words = pandoc.utils.blocks_to_inlines(caption)
  local picture = pandoc.Image(words, root .. "/" .. name:gsub("%.html$", ".png"))
  return pandoc.Figure({ pandoc.Plain({ picture }) }, { long = caption })
end

local function show(block)
  if not block.classes:includes("widget") then return nil end
  local is_page = FORMAT:match("^html") and not FORMAT:match("epub")
  return (is_page and on_page or on_paper)(block.attributes.file, block.content)
end

return { { Meta = read_root }, { Div = show } }
