byId("summary").textContent = `${DATA.images.length} images`;
