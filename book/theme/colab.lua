-- Puts links to the chapter's notebook under its title: the file itself, and Colab if the book has an address on GitHub: the
-- one of the settings, else the one on the notebook's own badge. Both builders use this filter.

local function chapter_file(meta)
  if meta["chapter-file"] then return pandoc.utils.stringify(meta["chapter-file"]) end
  if quarto and quarto.doc and quarto.doc.input_file then
    return quarto.doc.input_file:match("book/[^/]+%.qmd$") or ""
  end
  return ""
end

local function content(meta, path)
  local root = "."
  if meta["project-root"] then
    root = pandoc.utils.stringify(meta["project-root"])
  elseif quarto and quarto.project and quarto.project.directory then
    root = quarto.project.directory
  end
  local file = io.open(root .. "/" .. path, "r")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

local function notebook_links(meta)
  local stem = chapter_file(meta):match("^book/([^/]+)%.qmd$")
  local notebook = stem and ("book/colab/" .. stem .. ".ipynb")
  local text = notebook and content(meta, notebook)
  if not text then return nil end
  local links = '<a href="colab/' .. stem .. '.ipynb" download>Notebook of this chapter</a>'
  local colab = text:match("https://colab%.research%.google%.com/github/[%w%-%._/]+%.ipynb")
  local repository = meta["repository"] and pandoc.utils.stringify(meta["repository"]) or ""
  local name = repository:match("^https://github%.com/([^/]+/[^/]+)$")
  if name then colab = "https://colab.research.google.com/github/" .. name .. "/blob/main/" .. notebook end
  if colab then links = '<a href="' .. colab .. '">Open in Colab</a>' .. links end
  return pandoc.RawBlock("html", '<div class="notebook-links">' .. links .. '</div>')
end

local function is_first_page(meta)
  if meta["chapter-file"] then return chapter_file(meta) == "index.qmd" end
  return quarto and quarto.doc and quarto.doc.input_file and quarto.doc.input_file:match("/index%.qmd$") ~= nil
end

function Pandoc(document)
  local links = notebook_links(document.meta)
  if is_first_page(document.meta) and FORMAT:match("^html") then
    links = pandoc.RawBlock("html", '<div class="notebook-links" id="take-along"></div>')  -- filled by book --epub, --pdf
  end
  if not links then return document end
  local place = 1
  for number, block in ipairs(document.blocks) do
    if block.t == "Header" and block.level == 1 then place = number + 1; break end
  end
  document.blocks:insert(place, links)
  return document
end
