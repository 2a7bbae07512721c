"""Why did this document get this score? The reading of chapter 9, for one pair: `semanticbm explain`."""
